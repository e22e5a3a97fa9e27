-- What people have judged: one row a tweet and person, one object a wave and person.
CREATE EXTERNAL TABLE IF NOT EXISTS `audit_judged` (
  `tweet_id` bigint COMMENT 'The tweet',
  `person` string COMMENT 'Keyed pseudonym of the person',
  `judgment` string COMMENT 'Negative, Neutral, Positive or Cannot tell',
  `judged_at` timestamp COMMENT 'When it was judged, UTC'
)
COMMENT 'Judgments of people, by wave of the tweet'
PARTITIONED BY (
  `dt` string COMMENT 'First day of the wave, UTC, yyyy-MM-dd'
)
STORED AS PARQUET
LOCATION ${location}
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = ${days},
  'definition' = ${definition}
)
