-- What the champion says of the tweets drawn for people to judge: one row a tweet, one object a wave.
CREATE EXTERNAL TABLE IF NOT EXISTS `audit_predicted` (
  `tweet_id` bigint COMMENT 'The tweet',
  `model` string COMMENT 'The version in the registry, such as v3',
  `sentiment` string COMMENT 'Negative, Neutral or Positive'
)
COMMENT 'Labels of audited tweets by the student, by year'
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
