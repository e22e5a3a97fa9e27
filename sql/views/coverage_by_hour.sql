-- What was collected, labeled and predicted of every topic and hour, and what is missing.
--
-- Columns:
--   dt varchar: Day, UTC, yyyy-MM-dd
--   hour timestamp(3): The hour, UTC
--   topic varchar: The topic
--   verdict varchar: The state of the hour: one of the verdicts that docs/data-dictionary.md lists
--   evidence varchar: What the verdict rests on, in words
--   raw bigint: Distinct tweets in raw
--   labeled bigint: Those of them that are in labeled
--   quarantined bigint: Those of them that are in quarantine and not in labeled
--   missing bigint: Those of them that are in neither
--   judged bigint: Labeled tweets with a sentiment, when the hour was aggregated; null if it was not yet
--   predicted bigint: Labeled tweets with a sentiment for which the champion has a prediction
--   recovered bigint: Distinct tweets that only search brought
--   removed bigint: Distinct tweets that were removed from raw on request; counted nowhere else
--   alive_s double: Seconds for which heartbeats prove that the stream was connected
--   gap_s double: Seconds of outages that are not filled
--   alarm varchar: What a person has to look at; null if nothing
--   measured_at timestamp(3): When the hour was measured, UTC
WITH predictions_by_hour AS (
  SELECT dt, topic, hour, sum(judged) AS judged, sum(compared) AS predicted
  FROM opinion_hourly
  GROUP BY dt, topic, hour
)
SELECT
  coverage.dt,
  CAST(from_iso8601_timestamp(concat(coverage.hour, ':00:00Z')) AS timestamp(3)) AS hour,
  coverage.topic,
  coverage.verdict,
  coverage.evidence,
  coverage.raw_ids AS raw,
  coverage.labeled_ids AS labeled,
  coverage.quarantined,
  coverage.missing_ids AS missing,
  predictions_by_hour.judged,
  coalesce(predictions_by_hour.predicted, 0) AS predicted,
  coverage.recovered,
  coalesce(coverage.removed, 0) AS removed,
  coverage.alive_s,
  reduce(
    filter(coalesce(coverage.gaps, ARRAY[]), gap -> gap.state <> 'filled'),
    0e0,
    (seconds, gap) -> seconds + date_diff('millisecond', gap.gap_from, gap.gap_to) / 1e3,
    seconds -> seconds
  ) AS gap_s,
  coverage.alarm,
  coverage.measured_at
FROM coverage
LEFT JOIN predictions_by_hour
  ON predictions_by_hour.dt = coverage.dt
  AND predictions_by_hour.topic = coverage.topic
  AND date_format(predictions_by_hour.hour, '%Y-%m-%dT%H') = coverage.hour
