-- The student's labels: one row a tweet that the teacher has judged, one object an hour (`tweets-HH.parquet`).
-- A statement names the one model whose predictions it reads.
CREATE EXTERNAL TABLE IF NOT EXISTS `predictions` (
  `tweet_id` bigint COMMENT 'The tweet',
  `sentiment` string COMMENT 'Negative, Neutral or Positive',
  `p_negative` double COMMENT 'Probability of Negative',
  `p_neutral` double COMMENT 'Probability of Neutral',
  `p_positive` double COMMENT 'Probability of Positive'
)
COMMENT 'Predictions by model, topic and day (UTC)'
PARTITIONED BY (
  `model` string COMMENT 'The version in the registry, such as v3',
  `topic` string COMMENT 'The topic',
  `dt` string COMMENT 'Day of the tweet, UTC, yyyy-MM-dd'
)
STORED AS PARQUET
LOCATION ${location}
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.model.type' = 'injected',
  'projection.topic.type' = 'enum',
  'projection.topic.values' = ${topics},
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = ${days},
  'definition' = ${definition}
)
