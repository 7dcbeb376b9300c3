"""HTTP matters that all operations share: authentication, bodies, paging, problem documents."""
