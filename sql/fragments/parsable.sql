-- The line, or null where a name of its JSON is longer than 50,000 characters: that fails a statement which looks
-- for a field, and `try` does not help. A name begins with a quote, after a brace or a comma.
IF(length(line) < 50000 OR NOT regexp_like(line, '[{,]\s*"(?:[^"\\]|\\.){50000}'), line)
