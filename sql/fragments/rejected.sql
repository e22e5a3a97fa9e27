-- The ids of the tweets in all of quarantine and, where they are told, of their authors, with the address of the
-- object: what was rejected is the post itself, X's payload, or a row of quarantine that could not be delivered.
SELECT
  coalesce(
    tweet_id,
    json_extract_scalar(parsable, '$$.data.id'),
    json_extract_scalar(parsable, '$$.id'),
    json_extract_scalar(parsable, '$$.tweet_id'),
    -- Of a line that is no JSON up to its id: the first number that is called one.
    regexp_extract(line, '"id"\s*:\s*"?([1-9][0-9]{0,18})\b', 1)
  ) AS tweet,
  coalesce(
    json_extract_scalar(parsable, '$$.data.author_id'), json_extract_scalar(parsable, '$$.author_id')
  ) AS author,
  object
FROM (
  SELECT
    *,
    ${fragments/parsable} AS parsable
  FROM (
    SELECT
      json_extract_scalar(line, '$$.tweet_id') AS tweet_id,
      json_extract_scalar(line, '$$.line') AS line,
      "$$path" AS object
    FROM all_quarantine
  )
)
