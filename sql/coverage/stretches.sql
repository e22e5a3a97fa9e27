-- When the stream of X proved to be alive, and when nothing was for at least ${outage_ms} milliseconds: the
-- whole of [${from_ms}, ${to_ms}), milliseconds since 1970.
-- A connect record starts being alive; heartbeats of a connected streamer, and the record of its end, carry it
-- on to the last byte that X sent, as long as one follows the other within ${adjacent_ms}. Streamers beside
-- each other add up.
WITH records AS (
  SELECT
    session,
    event = 'connect' AS opens,
    CAST(
      to_unixtime(try(from_iso8601_timestamp(CASE WHEN event = 'connect' THEN at ELSE last_byte_at END))) * 1e3
      AS bigint
    ) AS ms
  FROM heartbeat_records
  WHERE dt IN (${days})
    AND concat(dt, 'T', hour) IN (${hours})
    AND object NOT IN (${unreadable})
    AND (connected OR event IN ('connect', 'disconnect', 'stop'))
),
steps AS (
  SELECT
    lag(ms) OVER (PARTITION BY session ORDER BY ms, opens) AS from_ms,
    ms AS to_ms,
    coalesce(opens, false) AS opens
  FROM records
  WHERE ms IS NOT NULL
),
spans AS (
  SELECT greatest(from_ms, ${from_ms}) AS from_ms, least(to_ms, ${to_ms}) AS to_ms
  FROM steps
  WHERE NOT opens
    AND to_ms > from_ms
    AND to_ms - from_ms <= ${adjacent_ms}
    AND to_ms > ${from_ms}
    AND from_ms < ${to_ms}
),
marked AS (
  SELECT
    from_ms,
    to_ms,
    CASE
      WHEN from_ms <= max(to_ms) OVER (
        ORDER BY from_ms, to_ms ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
      ) THEN 0
      ELSE 1
    END AS starts
  FROM spans
),
numbered AS (
  SELECT
    from_ms,
    to_ms,
    sum(starts) OVER (ORDER BY from_ms, to_ms ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS island
  FROM marked
),
alive AS (
  SELECT min(from_ms) AS from_ms, max(to_ms) AS to_ms
  FROM numbered
  GROUP BY island
),
edges AS (
  SELECT from_ms, to_ms FROM alive
  UNION ALL
  SELECT ${from_ms}, ${from_ms}
  UNION ALL
  SELECT ${to_ms}, ${to_ms}
),
between_edges AS (
  SELECT to_ms AS from_ms, lead(from_ms) OVER (ORDER BY from_ms, to_ms) AS to_ms
  FROM edges
)
SELECT 'alive' AS state, from_ms, to_ms FROM alive
UNION ALL
SELECT 'silent', from_ms, to_ms FROM between_edges WHERE to_ms - from_ms >= ${outage_ms}
ORDER BY 2, 3
