-- The tweets drawn for people to judge: one row a tweet, one object a wave. A wave is an ISO week, cut where the
-- month changes. What a tweet stands for is 100 / sample / chance.
CREATE EXTERNAL TABLE IF NOT EXISTS `audit_drawn` (
  `tweet_id` bigint COMMENT 'The tweet',
  `dt` string COMMENT 'First day of its month, UTC, yyyy-MM-dd',
  `topic` string COMMENT 'The topic',
  `lang` string COMMENT 'The language that X names; und where it names none',
  `country_code` string COMMENT 'Country of the place, ISO 3166-1 alpha-2; -- where the tweet has none',
  `measured` int COMMENT '1 if the models that labeled were measured on this language, else 0',
  `stratum` string COMMENT 'The language within which the tweet was drawn, or other for all small languages together',
  `chance` double COMMENT 'Chance of being drawn, 0 to 1',
  `people` int COMMENT 'How many people judge the tweet',
  `sample` int COMMENT 'Percentage of the matching posts then streamed, 1 to 100',
  `engine` string COMMENT 'The model that had labeled the tweet when it was drawn',
  `sentiment` string COMMENT 'The sentiment by that model',
  `p_negative` double COMMENT 'Probability of Negative by that model',
  `p_neutral` double COMMENT 'Probability of Neutral by that model',
  `p_positive` double COMMENT 'Probability of Positive by that model'
)
COMMENT 'Tweets drawn for the audit, by year'
PARTITIONED BY (
  `year` int COMMENT 'Year of the tweet, UTC'
)
STORED AS PARQUET
LOCATION ${location}
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.year.type' = 'integer',
  'projection.year.range' = ${years},
  'definition' = ${definition}
)
