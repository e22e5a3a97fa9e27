-- All of raw, also of topics that are not in the topics file any more: whatever the lake holds X is asked about.
-- It has no partitions, so a statement reads every object; the table raw reads some days of the present topics.
CREATE EXTERNAL TABLE IF NOT EXISTS `all_raw` (
  `line` string COMMENT 'As in raw'
)
COMMENT 'All payloads of X that the lake holds'
ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe'
WITH SERDEPROPERTIES ('field.delim' = '\n', 'serialization.null.format' = '\n')
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat'
OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION ${location}
TBLPROPERTIES ('definition' = ${definition})
