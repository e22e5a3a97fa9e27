-- What raw holds of every topic and hour, and what became of it. An hour without a line of raw
-- and without a tweet of two topics has no row.
-- named counts the tweets that lie in raw of this topic alone and whose rules name others too, by the topics named.
-- Times are milliseconds since 1970: a tweet's id tells when it was made (include/x/snowflake.py).
-- longest_silence_ms counts from the start of the hour to its last tweet: how far it goes on from there depends
-- on how far the hour can be judged.
-- What is asked of all tweets together (silences, tweets of two topics) is asked of a sorted array of the hour's
-- ids: a window over its tweets takes several times as long.
WITH lines AS (
  SELECT
    topic,
    dt,
    hour,
    tweet_id,
    coalesce(source, '') = 'search' AS searched,
    -- Of nearly every tweet they are its topic alone: only others are parsed.
    CASE WHEN json_extract(line, '$$.matching_rules[1]') IS NOT NULL THEN tags END AS tags
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
    count(*) AS deliveries,
    bool_and(searched) AS recovered,
    array_sort(array_distinct(flatten(array_agg(tags) FILTER (WHERE cardinality(tags) > 1)))) AS tags
  FROM lines
  GROUP BY topic, dt, hour, tweet_id
),
-- Of a day that several statements measure, each reads the hours that it is about: labeled has an object for each.
labels AS (
  SELECT DISTINCT topic, tweet_id
  FROM labeled
  WHERE dt IN (${days})
    AND concat(dt, 'T', regexp_extract("$$path", 'tweets-([0-9]{2})[.]parquet$$', 1)) IN (${hours})
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
hours AS (
  SELECT
    tweets.topic,
    tweets.dt,
    tweets.hour,
    count(labels.tweet_id) AS labeled_ids,
    count_if(tweets.tweet_id IS NOT NULL AND labels.tweet_id IS NULL AND rejected.tweet_id IS NULL) AS missing_ids,
    count_if(labels.tweet_id IS NULL AND rejected.tweet_id IS NOT NULL) AS quarantined,
    coalesce(sum(tweets.deliveries) FILTER (WHERE tweets.tweet_id IS NOT NULL), 0) - count(tweets.tweet_id) AS duplicates,
    coalesce(sum(tweets.deliveries) FILTER (WHERE tweets.tweet_id IS NULL), 0) AS lines_without_id,
    count_if(tweets.tweet_id IS NOT NULL AND tweets.recovered) AS recovered,
    coalesce(array_sort(array_agg(tweets.tweet_id) FILTER (WHERE tweets.tweet_id IS NOT NULL)), ARRAY[]) AS ids,
    coalesce(
      map_agg(tweets.tweet_id, array_join(tweets.tags, ',')) FILTER (
        WHERE tweets.tweet_id IS NOT NULL AND tweets.tags IS NOT NULL
      ),
      MAP()
    ) AS naming
  FROM tweets
  LEFT JOIN labels ON labels.topic = tweets.topic AND labels.tweet_id = tweets.tweet_id
  LEFT JOIN rejected ON rejected.topic = tweets.topic AND rejected.tweet_id = tweets.tweet_id
  GROUP BY tweets.topic, tweets.dt, tweets.hour
),
-- ids of tweets that lie in raw of another topic too.
shared AS (
  SELECT
    *,
    array_intersect(
      ids,
      filter(
        zip_with(ids_of_all, slice(ids_of_all, 2, cardinality(ids_of_all)), (id, following) -> IF(id = following, id)),
        id -> id IS NOT NULL
      )
    ) AS twice
  FROM (
    SELECT *, array_sort(flatten(array_agg(ids) OVER (PARTITION BY dt, hour))) AS ids_of_all
    FROM hours
  )
),
counts AS (
  SELECT
    *,
    transform(array_except(map_keys(naming), twice), id -> naming[id]) AS named,
    CAST(to_unixtime(from_iso8601_timestamp(concat(dt, 'T', hour, ':00:00Z'))) AS bigint) * 1000 AS hour_ms
  FROM shared
)
SELECT
  topic,
  dt,
  hour,
  coalesce(cardinality(ids), 0) AS raw_ids,
  coalesce(labeled_ids, 0) AS labeled_ids,
  coalesce(missing_ids, 0) AS missing_ids,
  coalesce(quarantined, 0) AS quarantined,
  coalesce(duplicates, 0) AS duplicates,
  coalesce(lines_without_id, 0) AS lines_without_id,
  coalesce(cardinality(twice) + cardinality(counts.named), 0) + coalesce(kept_out.tweets, 0) AS overlap,
  IF(
    cardinality(counts.named) > 0,
    json_format(
      CAST(
        map(
          array_distinct(counts.named),
          transform(array_distinct(counts.named), topics -> cardinality(filter(counts.named, each -> each = topics)))
        ) AS json
      )
    )
  ) AS named,
  coalesce(recovered, 0) AS recovered,
  bitwise_right_shift(element_at(ids, 1), 22) + 1288834974657 AS first_ms,
  bitwise_right_shift(element_at(ids, -1), 22) + 1288834974657 AS last_ms,
  IF(
    cardinality(ids) > 0,
    array_max(
      zip_with(
        ids,
        bitwise_left_shift(hour_ms - 1288834974657, 22) || slice(ids, 1, cardinality(ids) - 1),
        (id, before) -> bitwise_right_shift(id, 22) - bitwise_right_shift(before, 22)
      )
    )
  ) AS longest_silence_ms
FROM counts
FULL JOIN kept_out USING (topic, dt, hour)
ORDER BY 2, 3, 1
