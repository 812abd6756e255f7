from django import template

from accounts.email_addresses import display_email

register = template.Library()
register.filter(display_email)
