-- What could not be used, with its reason: rows of the streamer, of search and of the
-- transform; the view quarantined_lines parses them.
CREATE EXTERNAL TABLE IF NOT EXISTS `quarantine` (
  `line` string COMMENT 'The rejected line with stage, reason, origin and tweet_id, JSON'
)
COMMENT 'Rejected lines by topic and hour (UTC)'
PARTITIONED BY (
  `topic` string COMMENT 'The topic, or _none where the line names no known one',
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
