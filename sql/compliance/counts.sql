-- How many tweets and users were collected on some days, to some percent.
SELECT
  approx_distinct(tweet) AS tweets,
  approx_distinct(author) AS users
FROM (
  ${fragments/collected}
)
