-- Lines, tweets and those that only search brought, by topic and hour.
SELECT
  topic,
  dt || 'T' || hour AS window,
  count(data.id) AS lines,
  count(DISTINCT data.id) AS ids,
  count(DISTINCT data.id) - count(DISTINCT CASE WHEN ingest.source = 'stream' THEN data.id END) AS recovered
FROM raw
WHERE dt IN (${days}) AND dt || 'T' || hour IN (${windows})
GROUP BY 1, 2
