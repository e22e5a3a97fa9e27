-- What raw holds of every topic and hour, and what became of it. An hour without a line of raw
-- and without a tweet of two topics has no row.
-- named counts the tweets that lie in raw of this topic alone and whose rules name others too, by the topics named.
-- Times are milliseconds since 1970: a tweet's id tells when it was made (include/x/snowflake.py).
-- longest_silence_ms counts from the start of the hour to its last tweet: how far it goes on from there depends
-- on how far the hour can be judged.
-- An hour's ids are one array, and what is asked of them is asked of arrays: grouping, joining and windows over
-- single tweets take several times as long.
WITH lines AS (
  SELECT
    topic,
    dt,
    hour,
    tweet_id,
    -- As the streamer ends a line: only others are parsed.
    line NOT LIKE '%,"source":"stream"}}' AND coalesce(source, '') = 'search' AS searched,
    -- Of nearly every tweet they are its topic alone. Rules are parsed only where two may be named; a key of JSON may
    -- be written with escapes.
    CASE
      WHEN
        (line LIKE '%"matching!_rules"%"tag"%"tag"%' ESCAPE '!' OR strpos(line, '\u00') > 0)
        AND json_extract(line, '$$.matching_rules[1]') IS NOT NULL
        THEN tags
    END AS tags
  FROM raw_tweets
  WHERE dt IN (${days})
    AND concat(dt, 'T', hour) IN (${hours})
    AND object NOT IN (${unreadable})
),
deliveries AS (
  SELECT
    topic,
    dt,
    hour,
    count_if(tweet_id IS NULL) AS lines_without_id,
    coalesce(array_agg(tweet_id) FILTER (WHERE NOT searched AND tweet_id IS NOT NULL), ARRAY[]) AS streamed,
    coalesce(array_agg(tweet_id) FILTER (WHERE searched AND tweet_id IS NOT NULL), ARRAY[]) AS searched,
    coalesce(
      multimap_agg(tweet_id, tags) FILTER (WHERE cardinality(tags) > 1 AND tweet_id IS NOT NULL), MAP()
    ) AS naming
  FROM lines
  GROUP BY topic, dt, hour
),
-- Labeled has an object for each hour of raw: of a day that several statements measure, each reads those of its own.
labels AS (
  SELECT topic, dt, substr(label, 12) AS hour, array_agg(tweet_id) AS labeled
  FROM (
    SELECT
      *,
      "$$path" AS object,
      -- Asked of the address alone, it is asked once an object.
      regexp_replace("$$path", '^.*/dt=([^/]+)/tweets-([0-9]{2})[.]parquet$$', '$$1T$$2') AS label
    FROM labeled
    WHERE dt IN (${days})
  )
  WHERE label IN (${hours})
    AND object NOT IN (${unreadable})
  GROUP BY topic, dt, substr(label, 12)
),
rejections AS (
  SELECT topic, array_agg(DISTINCT try_cast(tweet_id AS bigint)) AS rejected
  FROM quarantined_lines
  WHERE dt IN (${days})
    AND concat(dt, 'T', hour) IN (${hours})
    AND object NOT IN (${unreadable})
    AND tweet_id IS NOT NULL
  GROUP BY topic
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
tweets AS (
  SELECT *, array_sort(array_distinct(streamed || searched)) AS ids
  FROM deliveries
),
hours AS (
  SELECT
    topic,
    dt,
    hour,
    ids,
    naming,
    lines_without_id,
    cardinality(streamed) + cardinality(searched) - cardinality(ids) AS duplicates,
    -- What the stream has delivered too was not lost.
    IF(cardinality(searched) > 0, cardinality(ids) - cardinality(array_distinct(streamed)), 0) AS recovered,
    array_except(ids, coalesce(labeled, ARRAY[])) AS unlabeled,
    coalesce(rejected, ARRAY[]) AS rejected
  FROM tweets
  LEFT JOIN labels USING (topic, dt, hour)
  LEFT JOIN rejections USING (topic)
),
-- ids of tweets that lie in raw of another topic too.
shared AS (
  SELECT
    *,
    cardinality(array_intersect(unlabeled, rejected)) AS quarantined,
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
    transform(
      array_except(map_keys(naming), twice), id -> array_join(array_sort(array_distinct(flatten(naming[id]))), ',')
    ) AS named,
    CAST(to_unixtime(from_iso8601_timestamp(concat(dt, 'T', hour, ':00:00Z'))) AS bigint) * 1000 AS hour_ms
  FROM shared
)
SELECT
  topic,
  dt,
  hour,
  coalesce(cardinality(ids), 0) AS raw_ids,
  coalesce(cardinality(ids) - cardinality(unlabeled), 0) AS labeled_ids,
  coalesce(cardinality(unlabeled) - quarantined, 0) AS missing_ids,
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
  bitwise_right_shift(element_at(ids, 1), 22) + ${epoch_ms} AS first_ms,
  bitwise_right_shift(element_at(ids, -1), 22) + ${epoch_ms} AS last_ms,
  IF(
    cardinality(ids) > 0,
    array_max(
      zip_with(
        ids,
        bitwise_left_shift(hour_ms - ${epoch_ms}, 22) || slice(ids, 1, cardinality(ids) - 1),
        (id, before) -> bitwise_right_shift(id, 22) - bitwise_right_shift(before, 22)
      )
    )
  ) AS longest_silence_ms
FROM counts
FULL JOIN kept_out USING (topic, dt, hour)
ORDER BY 2, 3, 1
