-- What raw holds of every topic and hour, and what became of it. An hour without a line of raw
-- and without a tweet of two topics has no row.
-- named counts the tweets that lie in raw of this topic alone and whose rules name others too, by the topics named.
-- Times are milliseconds since 1970: a tweet's id tells when it was made (include/x/snowflake.py).
-- longest_silence_ms counts from the start of the hour to its last tweet: how far it goes on from there depends
-- on how far the hour can be judged.
WITH lines AS (
  SELECT
    topic,
    dt,
    hour,
    tweet_id,
    coalesce(source, '') = 'search' AS searched,
    tags
  FROM raw_tweets
  WHERE dt IN (${days})
    AND concat(dt, 'T', hour) IN (${hours})
    AND object NOT IN (${unreadable})
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
    array_sort(array_distinct(flatten(array_agg(tags)))) AS tags,
    min(topic) OVER (PARTITION BY tweet_id) <> max(topic) OVER (PARTITION BY tweet_id) AS twice
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
  WHERE dt IN (${days})
    AND "$$path" NOT IN (${unreadable})
),
rejected AS (
  SELECT DISTINCT topic, try_cast(tweet_id AS bigint) AS tweet_id
  FROM quarantined_lines
  WHERE dt IN (${days})
    AND concat(dt, 'T', hour) IN (${hours})
    AND object NOT IN (${unreadable})
    AND tweet_id IS NOT NULL
),
-- The streamer keeps a tweet of two topics out of raw: it overlaps in each of them.
kept_out AS (
  SELECT named.topic, dt, hour, count(DISTINCT tweet_id) AS tweets
  FROM quarantined_lines CROSS JOIN UNNEST(topics || quarantined_lines.topic) AS named (topic)
  WHERE dt IN (${days})
    AND concat(dt, 'T', hour) IN (${hours})
    AND object NOT IN (${unreadable})
    AND stage = 'streamer'
    AND reason = 'overlap'
  GROUP BY named.topic, dt, hour
),
counts AS (
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
    count_if(spaced.tweet_id IS NOT NULL AND (spaced.twice OR cardinality(spaced.tags) > 1)) AS overlap,
    json_format(
      CAST(
        histogram(array_join(spaced.tags, ',')) FILTER (
          WHERE spaced.tweet_id IS NOT NULL AND cardinality(spaced.tags) > 1 AND NOT spaced.twice
        ) AS json
      )
    ) AS named,
    count_if(spaced.tweet_id IS NOT NULL AND spaced.recovered) AS recovered,
    min(spaced.ms) AS first_ms,
    max(spaced.ms) AS last_ms,
    max(spaced.silence_ms) AS longest_silence_ms
  FROM spaced
  LEFT JOIN labels ON labels.topic = spaced.topic AND labels.tweet_id = spaced.tweet_id
  LEFT JOIN rejected ON rejected.topic = spaced.topic AND rejected.tweet_id = spaced.tweet_id
  GROUP BY spaced.topic, spaced.dt, spaced.hour
)
SELECT
  topic,
  dt,
  hour,
  coalesce(raw_ids, 0) AS raw_ids,
  coalesce(labeled_ids, 0) AS labeled_ids,
  coalesce(missing_ids, 0) AS missing_ids,
  coalesce(quarantined, 0) AS quarantined,
  coalesce(duplicates, 0) AS duplicates,
  coalesce(lines_without_id, 0) AS lines_without_id,
  coalesce(overlap, 0) + coalesce(kept_out.tweets, 0) AS overlap,
  named,
  coalesce(recovered, 0) AS recovered,
  first_ms,
  last_ms,
  longest_silence_ms
FROM counts
FULL JOIN kept_out USING (topic, dt, hour)
ORDER BY 2, 3, 1
