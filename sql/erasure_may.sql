-- May this role erase?
select has_function_privilege('contactmirror_erase(text, bigint, bigint, text, bigint[], bytea[], bigint[], bytea[], bigint[], bytea[])', 'execute')
    and has_function_privilege('contactmirror_lift_erasure(text, bigint, bigint)', 'execute')
    and has_function_privilege('contactmirror_analyze_values()', 'execute')
