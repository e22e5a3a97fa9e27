-- What the streamer said in every hour: how often, how far it was through with Firehose, at which sample.
SELECT
  dt,
  hour,
  count(*) AS heartbeats,
  CAST(max(to_unixtime(try(from_iso8601_timestamp(watermark)))) * 1e3 AS bigint) AS watermark_ms,
  max_by(sample, at) AS sample
FROM heartbeat_records
WHERE dt IN (${days})
  AND concat(dt, 'T', hour) IN (${hours})
  AND object NOT IN (${unreadable})
  AND at IS NOT NULL
GROUP BY dt, hour
ORDER BY 1, 2
