-- Quarantined lines and tweets by topic, hour and reason.
SELECT
  topic,
  dt || 'T' || hour AS window,
  reason,
  count(*) AS lines,
  count(DISTINCT tweet_id) AS ids
FROM quarantined_lines
WHERE dt IN (${days}) AND dt || 'T' || hour IN (${windows}) AND reason IS NOT NULL
GROUP BY 1, 2, 3
