UPDATE companies SET phone = :phone, revision = revision + 1 WHERE id = :company_id
RETURNING json_object('id', id, 'phone', phone, 'revision', revision) AS document;
