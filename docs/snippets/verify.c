/* For dc_verify: Whether a channel is sound. */
int is_sound(const char *path)
{
    dc_verify_info info = DC_VERIFY_INFO_INIT;
    int code = dc_verify(path, &info);
    if (code < 0) return code;
    return info.corrupt == 0;
}
