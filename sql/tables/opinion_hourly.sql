-- The hourly aggregates: one row an hour, topic, language, country and method; one object a day, no user's data.
CREATE EXTERNAL TABLE IF NOT EXISTS `opinion_hourly` (
  `hour` timestamp COMMENT 'The hour, UTC',
  `topic` string COMMENT 'The topic',
  `lang` string COMMENT 'The language that X names; und where it names none',
  `country_code` string COMMENT 'Country of the place, ISO 3166-1 alpha-2; -- where the tweet has none',
  `measured` int COMMENT '1 if the sentiment model was measured on this language, else 0',
  `sample` int COMMENT 'Percentage of the matching posts then streamed, 1 to 100',
  `rule_hash` string COMMENT 'Digest of the rules then in force',
  `engine` string COMMENT 'The model that labeled, or none where none was asked',
  `translation_engine` string COMMENT 'The model that translated, or none',
  `tweets` bigint COMMENT 'Labeled rows',
  `judged` bigint COMMENT 'Those of them that have a sentiment',
  `negative` bigint COMMENT 'Those of them that are negative',
  `neutral` bigint COMMENT 'Those of them that are neutral',
  `positive` bigint COMMENT 'Those of them that are positive',
  `score_sum` double COMMENT 'Sum of the scores of the judged rows',
  `compared` bigint COMMENT 'Judged rows for which the champion has a prediction',
  `agreed` bigint COMMENT 'Those of them for which it predicts the same sentiment',
  `model` string COMMENT 'The champion that predicted, such as v3; empty where none has',
  `p_negative_sum` double COMMENT 'Sum of the probabilities of Negative of the judged rows',
  `p_positive_sum` double COMMENT 'Sum of the probabilities of Positive of the judged rows'
)
COMMENT 'Counts of labeled tweets and their sentiments, by day (UTC)'
PARTITIONED BY (
  `dt` string COMMENT 'Day, UTC, yyyy-MM-dd'
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
