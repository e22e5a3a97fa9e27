-- Tweets whose lines lie under another hour than the one that their id tells, as where the line names no time:
-- a removal looks under the id's hour. What the streamer rejects may lie under the next.
WITH held AS (
  SELECT
    try_cast(tweet AS bigint) AS tweet_id,
    regexp_extract(object, '/(raw|quarantine)/topic=', 1) AS layer,
    date_parse(
      regexp_replace(object, '^.*/dt=([0-9-]{10})/hour=([0-9]{2})/[^/]*$$', '$$1T$$2'), '%Y-%m-%dT%H'
    ) AS hour
  FROM (
    ${fragments/collected}
  )
  WHERE object IS NOT NULL
),
made AS (
  SELECT
    tweet_id,
    layer,
    hour,
    -- An id's upper bits are milliseconds since X's epoch (include/x/snowflake.py).
    date_trunc(
      'hour',
      at_timezone(from_unixtime((bitwise_right_shift(tweet_id, 22) + 1288834974657) / 1e3), 'UTC')
    ) AS made_at
  FROM held
  WHERE tweet_id > 0
)
SELECT DISTINCT
  tweet_id,
  date_format(hour, '%Y-%m-%dT%H') AS label
FROM made
WHERE hour <> CAST(made_at AS timestamp)
  AND NOT (layer = 'quarantine' AND hour = CAST(made_at AS timestamp) + INTERVAL '1' HOUR)
