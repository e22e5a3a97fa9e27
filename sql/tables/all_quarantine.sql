-- All of quarantine, as all_raw.
CREATE EXTERNAL TABLE IF NOT EXISTS `all_quarantine` (
  `line` string COMMENT 'As in quarantine'
)
COMMENT 'All rejected lines that the lake holds'
ROW FORMAT SERDE 'org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe'
WITH SERDEPROPERTIES ('field.delim' = '\n', 'serialization.null.format' = '\n')
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat'
OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION ${location}
TBLPROPERTIES ('definition' = ${definition})
