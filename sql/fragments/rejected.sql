-- The ids of the tweets in all of quarantine and, where they are told, of their authors, with the address of the
-- object: what search and the stream rejected is the post itself, or X's payload.
SELECT
  coalesce(
    json_extract_scalar(line, '$$.tweet_id'),
    json_extract_scalar(rejected, '$$.data.id'),
    json_extract_scalar(rejected, '$$.id')
  ) AS tweet,
  coalesce(
    json_extract_scalar(rejected, '$$.data.author_id'), json_extract_scalar(rejected, '$$.author_id')
  ) AS author,
  object
FROM (
  SELECT line, json_extract_scalar(line, '$$.line') AS rejected, "$$path" AS object FROM all_quarantine
)
