-- Which tweets have predictions, of every model and topic, as all_raw.
CREATE EXTERNAL TABLE IF NOT EXISTS `all_predictions` (
  `tweet_id` bigint COMMENT 'The tweet'
)
COMMENT 'All predictions that the lake holds'
STORED AS PARQUET
LOCATION ${location}
TBLPROPERTIES ('definition' = ${definition})
