"""What a SIGHUP changes of the `[audit]` settings: the rules and what is done about them."""

from dataclasses import replace

from auditline.workers.common.settings import Settings


def with_rules_of(settings: Settings, fresh: Settings) -> Settings:
    """Return *settings* with the rules and rules files of *fresh*, and whether they are locked, repaired or excused."""
    audit = replace(
        settings.audit,
        rules=fresh.audit.rules,
        rules_files=fresh.audit.rules_files,
        immutable=fresh.audit.immutable,
        ignore_rule_errors=fresh.audit.ignore_rule_errors,
        repair_rules=fresh.audit.repair_rules,
    )
    # Rules are made of what is watched, too.
    return replace(settings, audit=audit, fim=fresh.fim)
