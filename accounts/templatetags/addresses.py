from django import template

from accounts.addresses import display_email

register = template.Library()
register.filter(display_email)
