-- Rejected lines by their fields.
--
-- Columns:
--   dt varchar: Day, UTC, yyyy-MM-dd
--   hour varchar: Hour, UTC, 00 to 23
--   topic varchar: The topic, or _none where the line names no known one
--   stage varchar: Who rejected it: streamer, search, firehose or transform
--   reason varchar: Why, such as malformed_json, missing_text, overlap or undelivered
--   origin varchar: The object or session that the line comes from
--   tweet_id varchar: The id, where the line has one
--   line varchar: The rejected line, at most 65,536 characters
--   topics array(varchar): overlap: the topics whose rules the tweet matched, as the streamer saw them
--   object varchar: The address of the object that holds the line
SELECT
  dt,
  hour,
  topic,
  json_extract_scalar(line, '$$.stage') AS stage,
  json_extract_scalar(line, '$$.reason') AS reason,
  json_extract_scalar(line, '$$.origin') AS origin,
  json_extract_scalar(line, '$$.tweet_id') AS tweet_id,
  json_extract_scalar(line, '$$.line') AS line,
  coalesce(try(CAST(json_extract(line, '$$.topics') AS array(varchar))), ARRAY[]) AS topics,
  "$$path" AS object
FROM quarantine
WHERE trim(line) <> ''
