-- The labeled table: one row a tweet, one object an hour (`tweets-HH.parquet`).
CREATE EXTERNAL TABLE IF NOT EXISTS `labeled` (
  `ts` timestamp COMMENT 'When the tweet was made, UTC',
  `tweet_id` bigint COMMENT 'The tweet',
  `author_id` bigint COMMENT 'Keyed pseudonym of the author',
  `text` string COMMENT 'The whole text as people read it, HTML entities decoded',
  `lang` string COMMENT 'The language that X names',
  `country_code` string COMMENT 'Country of the place, ISO 3166-1 alpha-2',
  `location` string COMMENT 'Where the author says to be',
  `tag` string COMMENT 'The tag of the rule that matched',
  `translated_text` string COMMENT 'The text in English, where it was translated',
  `sentiment` string COMMENT 'Negative, Neutral or Positive; null where unlabeled',
  `score` double COMMENT 'Probability of that sentiment',
  `p_negative` double COMMENT 'Probability of Negative',
  `p_neutral` double COMMENT 'Probability of Neutral',
  `p_positive` double COMMENT 'Probability of Positive',
  `unlabeled_reason` string COMMENT 'Why there is no sentiment',
  `translation_engine` string COMMENT 'The model that translated, or none',
  `sentiment_engine` string COMMENT 'The model that labeled',
  `rule_hash` string COMMENT 'Digest of the rules then in force',
  `sample` int COMMENT 'Percentage of the matching posts then streamed',
  `source` string COMMENT 'stream or search',
  `received_at` timestamp COMMENT 'When the tweet was received, UTC',
  `place` string COMMENT 'Full name of the place',
  `author_followers` bigint COMMENT 'Followers of the author when received',
  `context` array<string> COMMENT 'Entities that X recognized in the text'
)
COMMENT 'Labeled tweets by topic and day (UTC)'
PARTITIONED BY (
  `topic` string COMMENT 'The topic',
  `dt` string COMMENT 'Day of the tweet, UTC, yyyy-MM-dd'
)
STORED AS PARQUET
LOCATION ${location}
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.topic.type' = 'enum',
  'projection.topic.values' = ${topics},
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = ${days},
  'definition' = ${definition}
)
