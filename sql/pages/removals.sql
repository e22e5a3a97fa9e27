-- What was removed, by request and layer, of the requests made between two days: what the page Removals shows.
SELECT
  request,
  max(reason) AS reason,
  layer,
  action,
  sum(removed) AS removed,
  count(DISTINCT hour) AS hours,
  min(requested_at) AS requested_at,
  max(done_at) AS done_at
FROM removals
WHERE dt BETWEEN ${first_day} AND ${last_day}
GROUP BY request, layer, action
ORDER BY requested_at DESC, request, layer, action
