-- Rejected tweets whose line lies under another hour than their id tells, for example because it names no time.
-- The hour after the id's counts too: a removal reads its quarantine, but not its raw, where the line may lie as well.
WITH held AS (
  SELECT
    try_cast(tweet AS bigint) AS tweet_id,
    -- The table shows whatever lies in quarantine, also under an address that names no hour.
    try(
      date_parse(
        regexp_replace(object, '^.*/dt=([0-9-]{10})/hour=([0-9]{2})/[^/]*$$', '$$1T$$2'), '%Y-%m-%dT%H'
      )
    ) AS hour
  FROM (
    ${fragments/rejected}
  )
),
made AS (
  SELECT
    tweet_id,
    hour,
    -- An id's upper bits are milliseconds since X's epoch (include/x/snowflake.py).
    CAST(
      at_timezone(from_unixtime((bitwise_right_shift(tweet_id, 22) + 1288834974657) / 1e3), 'UTC') AS timestamp
    ) AS made_at
  FROM held
  WHERE tweet_id > 0
)
SELECT DISTINCT
  tweet_id,
  date_format(hour, '%Y-%m-%dT%H') AS label
FROM made
WHERE hour <> date_trunc('hour', made_at)
