-- The lines of raw by their fields. A line that is no whole JSON object has nulls; a field of another type too.
-- An object that cannot be unpacked fails a statement that reads it: coverage names such objects in its evidence
-- and sets them aside; `object NOT IN (…)` leaves them out.
--
-- Columns:
--   dt varchar: Day of the tweet, UTC, yyyy-MM-dd
--   hour varchar: Hour of the tweet, UTC, 00 to 23
--   topic varchar: The tag of the rule that matched first
--   tweet_id bigint: The tweet; null where the line names none
--   created_at timestamp(3): When the tweet was made, UTC
--   author_id varchar: The author, as X names it
--   lang varchar: The language that X names
--   text varchar: The whole text of a long tweet too (note_tweet), with HTML entities as X sends them
--   edit_history_tweet_ids array(bigint): The ids of all versions of the tweet, oldest first; more than one: edited
--   tags array(varchar): The tags of the rules that the tweet matched, each once: topics
--   received_at timestamp(3): When the line was received, UTC
--   session varchar: The streamer process that received it
--   rule_hash varchar: Digest of the rules then in force
--   sample integer: Percentage of the matching posts then streamed
--   source varchar: stream or search
--   line varchar: The line as it came, JSON
--   object varchar: The address of the object that holds the line
WITH lines AS (
  SELECT
    dt,
    hour,
    topic,
    line,
    object,
    -- Fields are found without looking at the rest of the line: a cut one must not count as a tweet.
    -- Most end in a brace, and only others are searched for what follows their last one.
    CASE
      WHEN json_size(parsable, '$$') > 0 AND (line LIKE '%}' OR regexp_like(line, '\}\s*$$')) THEN line
    END AS payload
  FROM (
    SELECT
      *,
      "$$path" AS object,
      ${fragments/parsable} AS parsable
    FROM raw
    WHERE trim(line) <> ''
  )
),
identified AS (
  SELECT *, try_cast(id AS bigint) AS number
  FROM (SELECT *, json_extract_scalar(payload, '$$.data.id') AS id FROM lines)
)
SELECT
  dt,
  hour,
  topic,
  -- An id that is written as the number itself is nothing but digits: only others are matched.
  CASE
    WHEN number >= 0 AND CAST(number AS varchar) = id THEN number
    ELSE try_cast(regexp_extract(id, '^[0-9]{1,19}$$') AS bigint)
  END AS tweet_id,
  CAST(
    try(from_iso8601_timestamp(json_extract_scalar(payload, '$$.data.created_at'))) AT TIME ZONE 'UTC' AS timestamp(3)
  ) AS created_at,
  json_extract_scalar(payload, '$$.data.author_id') AS author_id,
  json_extract_scalar(payload, '$$.data.lang') AS lang,
  coalesce(
    nullif(json_extract_scalar(payload, '$$.data.note_tweet.text'), ''),
    json_extract_scalar(payload, '$$.data.text')
  ) AS text,
  coalesce(
    try(CAST(json_extract(payload, '$$.data.edit_history_tweet_ids') AS array(bigint))), ARRAY[]
  ) AS edit_history_tweet_ids,
  array_distinct(
    filter(
      transform(
        coalesce(try(CAST(json_extract(payload, '$$.matching_rules') AS array(json))), ARRAY[]),
        rule -> json_extract_scalar(rule, '$$.tag')
      ),
      tag -> tag IS NOT NULL
    )
  ) AS tags,
  CAST(
    try(from_iso8601_timestamp(json_extract_scalar(payload, '$$.ingest.received_at'))) AT TIME ZONE 'UTC'
    AS timestamp(3)
  ) AS received_at,
  json_extract_scalar(payload, '$$.ingest.session') AS session,
  json_extract_scalar(payload, '$$.ingest.rule_hash') AS rule_hash,
  try_cast(json_extract_scalar(payload, '$$.ingest.sample') AS integer) AS sample,
  json_extract_scalar(payload, '$$.ingest.source') AS source,
  line,
  object
FROM identified
