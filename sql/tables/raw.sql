-- X's payloads as they came, with `ingest` added: one line a delivery, so an id may stand several times.
-- A line is a text, so that no content can keep the others from being read; the view raw_tweets parses it. The
-- delimiter of fields and the mark of nulls are the newline, which no line contains: each line is read whole.
-- ${topics} is the topics' names joined by commas; partitions are projected, none is registered.
CREATE EXTERNAL TABLE IF NOT EXISTS `raw` (
  `line` string COMMENT 'X sends data, includes and matching_rules; ingest says when and how the line was received; JSON'
)
COMMENT 'Payloads of X by topic and hour of the tweet (UTC)'
PARTITIONED BY (
  `topic` string COMMENT 'The tag of the rule that matched first',
  `dt` string COMMENT 'Day of the tweet, UTC, yyyy-MM-dd',
  `hour` string COMMENT 'Hour of the tweet, UTC, 00 to 23'
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
