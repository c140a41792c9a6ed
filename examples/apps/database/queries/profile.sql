-- The profile shows the points, so that a change of either makes it old.
SELECT json_object(
    'id', users.id, 'name', name, 'email', email, 'city', city, 'tier', tier,
    'points', balance, 'revision', users.revision, 'points_revision', points.revision) AS document
FROM users JOIN points ON points.user_id = users.id WHERE users.id = :user_id;
