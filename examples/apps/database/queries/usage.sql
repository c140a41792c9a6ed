SELECT json_object(
    'user_id', :user_id,
    'analyses', (SELECT count(*) FROM analyses WHERE user_id = :user_id),
    'messages', (SELECT count(*) FROM messages WHERE user_id = :user_id),
    'pickups', (SELECT count(*) FROM pickups WHERE user_id = :user_id)) AS document;
