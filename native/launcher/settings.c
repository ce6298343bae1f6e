#include "settings.h"

const char settings[SETTINGS_SIZE] = "@pelagos-launcher-settings@";
