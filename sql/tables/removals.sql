-- What was removed from the lake, on which request and when: counts alone, one object a request.
CREATE EXTERNAL TABLE IF NOT EXISTS `removals` (
  `request` string COMMENT 'Names the request',
  `reason` string COMMENT 'Why: X reports it, or what the person who asked wrote',
  `hour` string COMMENT 'Hour of the tweets, UTC, yyyy-MM-ddTHH; null for what is not stored by hour',
  `topic` string COMMENT 'The topic; _all for objects of every topic, _none for lines that name no known one',
  `layer` string COMMENT 'raw, quarantine, labeled, predictions, edits, work, delivery-errors, audit, delta or athena-results',
  `action` string COMMENT 'delete or scrub_geo',
  `removed` bigint COMMENT 'Lines and rows that were removed, or lost their place; for athena-results: objects',
  `requested_at` timestamp COMMENT 'When it was asked for, UTC',
  `done_at` timestamp COMMENT 'When the last layer was done, UTC'
)
COMMENT 'What was removed, by day of the request (UTC)'
PARTITIONED BY (
  `dt` string COMMENT 'Day of the request, UTC, yyyy-MM-dd'
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
