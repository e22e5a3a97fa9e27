-- What a day's tweets with a sentiment are made of: one row a topic, model, dimension and bin; one object a day,
-- no user's data. Drift compares it with the days that people audited.
CREATE EXTERNAL TABLE IF NOT EXISTS `mix` (
  `topic` string COMMENT 'The topic',
  `engine` string COMMENT 'The model that labeled',
  `dimension` string COMMENT 'language, country, source, negative, positive or agreement',
  `bin` string COMMENT 'Language, country, stream or search, first tenth of the probability (0 to 9), agreed or disagreed',
  `tweets` bigint COMMENT 'Tweets with a sentiment in this bin',
  `posts` double COMMENT 'Posts that they stand for: each counts 100 / sample'
)
COMMENT 'What the tweets of a day (UTC) are made of'
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
