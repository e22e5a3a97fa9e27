-- The gap ledger: one row a topic and hour, one object a day.
CREATE EXTERNAL TABLE IF NOT EXISTS `coverage` (
  `topic` string COMMENT 'The topic',
  `hour` string COMMENT 'The hour, UTC, such as 2026-11-20T05',
  `raw_ids` bigint COMMENT 'Distinct tweets in raw',
  `labeled_ids` bigint COMMENT 'Those of them that are in labeled',
  `missing_ids` bigint COMMENT 'Those of them that are neither in labeled nor in quarantine',
  `quarantined` bigint COMMENT 'Those of them that are in quarantine and not in labeled',
  `duplicates` bigint COMMENT 'Lines of raw that repeat a tweet',
  `lines_without_id` bigint COMMENT 'Lines of raw that name no tweet',
  `overlap` bigint COMMENT 'Tweets whose matching rules name two topics',
  `recovered` bigint COMMENT 'Distinct tweets that only search brought',
  `removed` bigint COMMENT 'Distinct tweets that were removed from raw on request; counted nowhere else',
  `first_ts` timestamp COMMENT 'The earliest tweet, UTC',
  `last_ts` timestamp COMMENT 'The latest tweet, UTC',
  `longest_silence_s` double COMMENT 'Longest time without a tweet within the hour, seconds',
  `alive_s` double COMMENT 'Seconds for which heartbeats prove that the stream was connected',
  `judged_until` timestamp COMMENT 'How far the hour could be judged, UTC: its end, or the watermark',
  `verdict` string COMMENT 'The state of the hour: one of the verdicts that docs/data-dictionary.md lists',
  `evidence` string COMMENT 'What the verdict rests on, in words',
  `evidence_digest` string COMMENT 'Digest of what decides whether to try again',
  `inputs_digest` string COMMENT 'Digest of the objects that were measured',
  `gaps` array<struct<
    gap_from: timestamp,
    gap_to: timestamp,
    state: string,
    deadline: timestamp,
    approved: boolean,
    reason: string
  >> COMMENT 'Outages [gap_from, gap_to): state is open, filling, filled or unrecoverable; deadline is the end of search',
  `gap_state` string COMMENT 'The state of the gap that is furthest from filled; null without a gap',
  `reruns` int COMMENT 'How often the transform was rerun on this evidence',
  `rerun_by` string COMMENT 'The run of coverage that asked for the last of them',
  `alarm` string COMMENT 'What a person has to look at; null if nothing',
  `measured_at` timestamp COMMENT 'When this row was measured, UTC'
)
COMMENT 'What was collected and labeled, and what is missing, by day (UTC)'
PARTITIONED BY (
  `dt` string COMMENT 'Day, UTC, yyyy-MM-dd'
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
