-- How far the recent days have moved away from those that people audited: one row a topic and dimension, one
-- object by the last of the recent days. Topics without an audit have no row.
CREATE EXTERNAL TABLE IF NOT EXISTS `drift` (
  `topic` string COMMENT 'The topic',
  `dimension` string COMMENT 'engine, language, country, source, negative, positive or agreement',
  `stability_index` double COMMENT 'Population stability index of the recent days against the audited days',
  `noise` double COMMENT 'What the index stays below in 99.9 % of cases if nothing has changed',
  `tolerated` double COMMENT 'The index up to which a change is tolerated',
  `drifted` int COMMENT '1 if the index is above both, so that the audit no longer describes the tweets, else 0',
  `audit_month` string COMMENT 'First day of the month whose audit is in use, UTC, yyyy-MM-dd',
  `audited_days` bigint COMMENT 'Days of that month that were audited',
  `audited_tweets` bigint COMMENT 'Tweets with a sentiment in these days',
  `recent_days` bigint COMMENT 'Recent days that have tweets',
  `recent_tweets` bigint COMMENT 'Tweets with a sentiment in these days'
)
COMMENT 'Drift of the tweets away from their audit, by the last of the recent days (UTC)'
PARTITIONED BY (
  `dt` string COMMENT 'Last of the recent days, UTC, yyyy-MM-dd'
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
