-- What raw holds of every topic and hour, and what became of it. An hour without a line of raw has no row.
-- Times are milliseconds since 1970: a tweet's id tells when it was made (include/x/snowflake.py).
-- longest_silence_ms counts from the start of the hour to its last tweet: how far it goes on from there depends
-- on how far the hour can be judged.
WITH lines AS (
  SELECT
    topic,
    dt,
    hour,
    try_cast(data.id AS bigint) AS tweet_id,
    coalesce(ingest.source, '') = 'search' AS searched,
    coalesce(cardinality(array_distinct(transform(matching_rules, rule -> rule.tag))), 0) > 1 AS overlapping
  FROM raw
  WHERE dt BETWEEN ${first_day} AND ${last_day}
    AND concat(dt, 'T', hour) BETWEEN ${first_hour} AND ${last_hour}
),
-- Lines that name no tweet are a group of their own: tweet_id is null.
tweets AS (
  SELECT
    topic,
    dt,
    hour,
    tweet_id,
    bitwise_right_shift(tweet_id, 22) + 1288834974657 AS ms,
    CAST(to_unixtime(from_iso8601_timestamp(concat(dt, 'T', hour, ':00:00Z'))) AS bigint) * 1000 AS hour_ms,
    count(*) AS deliveries,
    bool_and(searched) AS recovered,
    bool_or(overlapping)
      OR min(topic) OVER (PARTITION BY tweet_id) <> max(topic) OVER (PARTITION BY tweet_id) AS overlapping
  FROM lines
  GROUP BY topic, dt, hour, tweet_id
),
spaced AS (
  SELECT *, ms - lag(ms, 1, hour_ms) OVER (PARTITION BY topic, dt, hour ORDER BY ms NULLS LAST) AS silence_ms
  FROM tweets
),
labels AS (
  SELECT DISTINCT topic, tweet_id
  FROM labeled
  WHERE dt BETWEEN ${first_day} AND ${last_day}
),
rejected AS (
  SELECT DISTINCT topic, try_cast(tweet_id AS bigint) AS tweet_id
  FROM quarantine
  WHERE dt BETWEEN ${first_day} AND ${last_day}
    AND concat(dt, 'T', hour) BETWEEN ${first_hour} AND ${last_hour}
    AND tweet_id IS NOT NULL
),
-- The streamer keeps a tweet of two topics out of raw.
kept_out AS (
  SELECT topic, dt, hour, count(DISTINCT tweet_id) AS tweets
  FROM quarantine
  WHERE dt BETWEEN ${first_day} AND ${last_day}
    AND concat(dt, 'T', hour) BETWEEN ${first_hour} AND ${last_hour}
    AND stage = 'streamer'
    AND reason = 'overlap'
  GROUP BY topic, dt, hour
)
SELECT
  spaced.topic,
  spaced.dt,
  spaced.hour,
  count(spaced.tweet_id) AS raw_ids,
  count(labels.tweet_id) AS labeled_ids,
  count_if(spaced.tweet_id IS NOT NULL AND labels.tweet_id IS NULL AND rejected.tweet_id IS NULL) AS missing_ids,
  count_if(labels.tweet_id IS NULL AND rejected.tweet_id IS NOT NULL) AS quarantined,
  coalesce(sum(spaced.deliveries) FILTER (WHERE spaced.tweet_id IS NOT NULL), 0) - count(spaced.tweet_id) AS duplicates,
  coalesce(sum(spaced.deliveries) FILTER (WHERE spaced.tweet_id IS NULL), 0) AS lines_without_id,
  count_if(spaced.tweet_id IS NOT NULL AND spaced.overlapping) + coalesce(max(kept_out.tweets), 0) AS overlap,
  count_if(spaced.tweet_id IS NOT NULL AND spaced.recovered) AS recovered,
  min(spaced.ms) AS first_ms,
  max(spaced.ms) AS last_ms,
  max(spaced.silence_ms) AS longest_silence_ms
FROM spaced
LEFT JOIN labels ON labels.topic = spaced.topic AND labels.tweet_id = spaced.tweet_id
LEFT JOIN rejected ON rejected.topic = spaced.topic AND rejected.tweet_id = spaced.tweet_id
LEFT JOIN kept_out ON kept_out.topic = spaced.topic AND kept_out.dt = spaced.dt AND kept_out.hour = spaced.hour
GROUP BY spaced.topic, spaced.dt, spaced.hour
ORDER BY 2, 3, 1
