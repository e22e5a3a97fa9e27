-- What people have judged: one row a tweet and person, one object a wave and person.
CREATE EXTERNAL TABLE IF NOT EXISTS `audit_judged` (
  `tweet_id` bigint COMMENT 'The tweet',
  `person` string COMMENT 'Keyed pseudonym of the person',
  `judgment` string COMMENT 'Negative, Neutral, Positive or Cannot tell',
  `judged_at` timestamp COMMENT 'When it was judged, UTC'
)
COMMENT 'Judgments of people, by year of the tweet'
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
