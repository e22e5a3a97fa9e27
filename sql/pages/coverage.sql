-- The gap ledger of some days with the counts of every layer: what the page Coverage shows.
SELECT
  topic, hour, verdict, evidence, raw, labeled, quarantined, missing, judged, predicted, recovered, alive_s, gap_s,
  alarm, measured_at
FROM coverage_by_hour
WHERE dt BETWEEN ${first_day} AND ${last_day}
ORDER BY hour, topic
