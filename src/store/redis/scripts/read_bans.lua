-- ARGV[4] position up to which the caller has read the log

if not is_complete() then return {'DAMAGED', number(sequence)} end
return newer_than(ARGV[4])
