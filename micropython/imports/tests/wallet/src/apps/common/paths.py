from apps.common.confirm import confirm

check = confirm
