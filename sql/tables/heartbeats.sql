-- What the streamer says of itself, through the same delivery stream as the tweets.
CREATE EXTERNAL TABLE IF NOT EXISTS `heartbeats` (
  `kind` string COMMENT 'heartbeat or session',
  `at` string COMMENT 'When it was said, ISO 8601 UTC',
  `session` string COMMENT 'The streamer process that says it',
  `watermark` string COMMENT 'heartbeat: when the oldest line was received that Firehose has not acknowledged',
  `connected` boolean COMMENT 'heartbeat: whether the stream of X is connected',
  `last_byte_at` string COMMENT 'When X last sent anything, keep-alives included',
  `last_tweet_at` string COMMENT 'heartbeat: when X last sent a tweet',
  `received` bigint COMMENT 'heartbeat: lines received in this session',
  `spooled` bigint COMMENT 'heartbeat: lines put into the durable queue in this session',
  `delivered` bigint COMMENT 'heartbeat: lines acknowledged by Firehose in this session',
  `pending` bigint COMMENT 'heartbeat: lines waiting in the durable queue',
  `event` string COMMENT 'session: start, connect, disconnect, rules, sample, salvage, check or stop',
  `reason` string COMMENT 'session: why it was disconnected, or what changed',
  `rule_hash` string COMMENT 'Digest of the rules then in force',
  `sample` int COMMENT 'Percentage of the matching posts then streamed'
)
COMMENT 'Heartbeats and session records by hour of their sending (UTC)'
PARTITIONED BY (
  `topic` string COMMENT 'Always _all',
  `dt` string COMMENT 'Day, UTC, yyyy-MM-dd',
  `hour` string COMMENT 'Hour, UTC, 00 to 23'
)
ROW FORMAT SERDE 'org.openx.data.jsonserde.JsonSerDe'
WITH SERDEPROPERTIES ('ignore.malformed.json' = 'true')
STORED AS INPUTFORMAT 'org.apache.hadoop.mapred.TextInputFormat'
OUTPUTFORMAT 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat'
LOCATION ${location}
TBLPROPERTIES (
  'projection.enabled' = 'true',
  'projection.topic.type' = 'enum',
  'projection.topic.values' = ${topics},
  'projection.dt.type' = 'date',
  'projection.dt.format' = 'yyyy-MM-dd',
  'projection.dt.range' = ${days},
  'projection.hour.type' = 'integer',
  'projection.hour.range' = '0,23',
  'projection.hour.digits' = '2',
  'definition' = ${definition}
)
