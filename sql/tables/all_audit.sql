-- Which tweets were drawn or judged in any year, as all_raw: they do not expire.
CREATE EXTERNAL TABLE IF NOT EXISTS `all_audit` (
  `tweet_id` bigint COMMENT 'The tweet'
)
COMMENT 'All tweets of the audit'
STORED AS PARQUET
LOCATION ${location}
TBLPROPERTIES ('definition' = ${definition})
