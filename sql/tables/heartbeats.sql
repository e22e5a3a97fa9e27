-- What the streamer says of itself, through the same delivery stream as the tweets; the view heartbeat_records
-- parses it.
CREATE EXTERNAL TABLE IF NOT EXISTS `heartbeats` (
  `line` string COMMENT 'A heartbeat or a session record, JSON'
)
COMMENT 'Heartbeats and session records by hour of their sending (UTC)'
PARTITIONED BY (
  `topic` string COMMENT 'Always _all',
  `dt` string COMMENT 'Day, UTC, yyyy-MM-dd',
  `hour` string COMMENT 'Hour, UTC, 00 to 23'
)
${fragments/text_lines}
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
