INSERT INTO pickups (user_id, company_id, status, material, kilograms, day)
VALUES (:user_id, :company_id, 'pending', :material, :kilograms, '2026-11-29')
RETURNING json_object(
    'id', id, 'user_id', user_id, 'company_id', company_id,
    'revision', (SELECT count(*) FROM pickups
                 WHERE user_id = :user_id AND company_id = :company_id),
    'user_revision', (SELECT count(*) FROM pickups WHERE user_id = :user_id)) AS document;
