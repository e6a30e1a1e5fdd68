"""What a SIGHUP changes of the settings: the rules, and nothing else before the next start."""

from dataclasses import replace

from auditline.workers.common.settings import Settings


def with_rules_of(settings: Settings, fresh: Settings) -> Settings:
    """Return *settings* with the rules and rules files of *fresh*."""
    audit = replace(settings.audit, rules=fresh.audit.rules, rules_files=fresh.audit.rules_files)
    return replace(settings, audit=audit)
