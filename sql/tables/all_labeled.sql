-- Whose tweets are labeled, of every topic, as all_raw.
CREATE EXTERNAL TABLE IF NOT EXISTS `all_labeled` (
  `tweet_id` bigint COMMENT 'The tweet',
  `author_id` bigint COMMENT 'Keyed pseudonym of the author'
)
COMMENT 'All labeled tweets that the lake holds'
STORED AS PARQUET
LOCATION ${location}
TBLPROPERTIES ('definition' = ${definition})
